// Each call of node-sparkpost: node calls_sparkpost.js PACKAGES ORIGIN KEY RECIPIENT
'use strict';

const { createRequire } = require('node:module');
const [, , packages, origin, key, recipient] = process.argv;
const SparkPost = createRequire(`${packages}/`)('sparkpost');
const client = new SparkPost(key, { origin });
const told = {};
const tomorrow = `${new Date(Date.now() + 864e5).toISOString().slice(0, 19)}+00:00`;

async function call(name, act) {
    try {
        told[name] = await act();
    } catch (err) {
        told[name] = { raised: [err.statusCode, err.errors || String(err)] };
    }
    return told[name];
}

(async () => {
    await call('transmissions.send', () =>
        client.transmissions.send(
            {
                options: { open_tracking: false, click_tracking: false },
                campaign_id: 'spring',
                substitution_data: { name: 'world' },
                content: {
                    from: { name: 'Sender', email: 'sender@example.com' },
                    subject: 'Hello {{name}}',
                    html: '<p>Hello {{name}}</p>',
                    text: 'Hello {{name}}'
                },
                recipients: [{ address: `Ann <${recipient}>` }],
                cc: [{ address: `cc-${recipient}` }],
                bcc: [{ address: `bcc-${recipient}` }]
            },
            { num_rcpt_errors: 3 }
        )
    );
    const later = await call('transmissions.send later', () =>
        client.transmissions.send({
            options: { start_time: tomorrow },
            campaign_id: 'later',
            content: { from: 'sender@example.com', subject: 'later', text: 'x' },
            recipients: [{ address: `later-${recipient}` }]
        })
    );
    await call('transmissions.list', () => client.transmissions.list({ campaign_id: 'later' }));
    await call('transmissions.get', () => client.transmissions.get(later.results.id));
    await call('templates.create', () =>
        client.templates.create({
            id: 'node-greeting',
            name: 'Greeting',
            published: true,
            content: { from: 'sender@example.com', subject: 'Greetings {{name}}', text: 'Dear {{name}}' }
        })
    );
    await call('templates.get', () => client.templates.get('node-greeting', { draft: false }));
    await call('templates.list', () => client.templates.list());
    await call('templates.update', () =>
        client.templates.update('node-greeting', { content: { from: 'sender@example.com', subject: 'New {{name}}', text: 'x' } }, { update_published: true })
    );
    await call('templates.preview', () => client.templates.preview('node-greeting', { substitution_data: { name: 'Ann' } }));
    await call('recipientLists.create', () =>
        client.recipientLists.create({
            id: 'node-list',
            name: 'List',
            num_rcpt_errors: 3,
            recipients: [{ address: { email: `list-${recipient}`, name: 'List' } }, { address: 'no address' }]
        })
    );
    await call('recipientLists.get', () => client.recipientLists.get('node-list', { show_recipients: true }));
    await call('recipientLists.list', () => client.recipientLists.list());
    await call('recipientLists.update', () =>
        client.recipientLists.update('node-list', { name: 'List 2', recipients: [{ address: `list-${recipient}` }] })
    );
    await call('suppressionList.upsert', () =>
        client.suppressionList.upsert({ recipient: `gone-${recipient}`, type: 'non_transactional', description: 'asked' })
    );
    await call('suppressionList.get', () => client.suppressionList.get(`gone-${recipient}`));
    await call('suppressionList.list', () => client.suppressionList.list({ limit: 5 }));
    await call('suppressionList.delete', () => client.suppressionList.delete(`gone-${recipient}`));
    await call('sendingDomains.create', () => client.sendingDomains.create({ domain: 'node.example.com' }));
    await call('sendingDomains.get', () => client.sendingDomains.get('node.example.com'));
    await call('sendingDomains.update', () => client.sendingDomains.update('node.example.com', { tracking_domain: null }));
    await call('sendingDomains.verify', () => client.sendingDomains.verify('node.example.com', { dkim_verify: true, spf_verify: true }));
    await call('sendingDomains.list', () => client.sendingDomains.list());
    await call('sendingDomains.delete', () => client.sendingDomains.delete('node.example.com'));
    await call('webhooks.getDocumentation', () => client.webhooks.getDocumentation());
    await call('webhooks.getSamples', () => client.webhooks.getSamples({ events: 'bounce' }));
    const sub = await call('subaccounts.create', () =>
        client.subaccounts.create({ name: 'Node', key_label: 'Node key', key_grants: ['transmissions/modify'] })
    );
    if (sub && sub.results) {
        await call('subaccounts.get', () => client.subaccounts.get(String(sub.results.subaccount_id)));
        await call('subaccounts.update', () =>
            client.subaccounts.update(String(sub.results.subaccount_id), { name: 'Node 2', status: 'suspended' })
        );
    }
    await call('subaccounts.list', () => client.subaccounts.list());
    await call('recipientLists.delete', () => client.recipientLists.delete('node-list'));
    await call('templates.delete', () => client.templates.delete('node-greeting'));
    await call('templates.get of none', () => client.templates.get('node-greeting'));
    process.stdout.write(JSON.stringify(told));
})();
