// A line of JSON in, a line of JSON out: what npm's mailauth says of a message, or makes of one.
// {do: "verify" | "sign" | "seal", message: base64, records: {name: text}, keys: [...], canonicalization, results, cv, now}
'use strict';

const readline = require('node:readline');
const { createRequire } = require('node:module');
const packages = createRequire(`${process.argv[2]}/`);
const { dkimSign, dkimVerify, arc, sealMessage } = (() => {
    const { dkimSign } = packages('mailauth/lib/dkim/sign');
    const { dkimVerify } = packages('mailauth/lib/dkim/verify');
    const { arc, sealMessage } = packages('mailauth/lib/arc');
    return { dkimSign, dkimVerify, arc, sealMessage };
})();

const acts = {
    async verify(asked, message) {
        const resolver = async name => {
            if (!(name in asked.records)) {
                throw Object.assign(new Error('none'), { code: 'ENOTFOUND' });
            }
            return [[asked.records[name]]];
        };
        const found = await dkimVerify(message, { resolver, curTime: new Date(asked.now * 1000) });
        const chain = await arc(found.arc, { resolver });
        return {
            dkim: found.results.map(each => [each.selector, each.status.result, each.status.comment || '']),
            arc: chain && chain.status ? [chain.status.result, chain.status.comment || ''] : ['none', '']
        };
    },
    async sign(asked, message) {
        const made = await dkimSign(message, {
            canonicalization: asked.canonicalization,
            signTime: new Date(asked.now * 1000),
            signatureData: asked.keys
        });
        return { head: made.signatures, errors: made.errors.map(each => String(each.err || each)) };
    },
    async seal(asked, message) {
        const head = await sealMessage(message, {
            ...asked.keys[0],
            signTime: new Date(asked.now * 1000),
            authResults: asked.results,
            cv: asked.cv
        });
        return { head: head.toString() };
    }
};

(async () => {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const asked = JSON.parse(line);
        let told;
        try {
            told = await acts[asked.do](asked, Buffer.from(asked.message, 'base64'));
        } catch (err) {
            told = { error: err.stack };
        }
        process.stdout.write(`${JSON.stringify(told)}\n`);
    }
})();
