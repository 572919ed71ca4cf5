"""How long a host may take for each step."""

from __future__ import annotations

from postroad.config.schema import DeliveryOptions
from postroad.deliver.steps import Step


class StepTimes:
    """Seconds that each step may take."""

    def __init__(self, options: DeliveryOptions) -> None:
        times: dict[Step, float] = {
            Step.BANNER: options.banner_timeout,
            Step.EHLO: options.ehlo_timeout,
            Step.HELO: options.ehlo_timeout,
            Step.READY: options.idle_timeout,
            Step.RSET: options.mail_timeout,
            Step.MAIL: options.mail_timeout,
            Step.RCPT: options.rcpt_timeout,
            Step.SKIP: options.rcpt_timeout,
            Step.DATA: options.data_timeout,
            Step.DRAIN: options.data_timeout,
            Step.EMPTY: options.final_timeout,
            Step.CONTENT: options.final_timeout,
            Step.QUIT: options.quit_timeout,
            Step.CLOSED: options.quit_timeout,
            Step.STARTTLS: options.ehlo_timeout,
            Step.HANDSHAKE: options.ehlo_timeout,
            Step.AUTH: options.ehlo_timeout,
        }
        self.by_step = tuple(float(times[step]) for step in Step)
        self.body = float(options.body_timeout)
