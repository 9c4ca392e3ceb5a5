"""The one waiting loop, for every service: when to ask again, what to forgive, when to give up.

No Airflow here: the way to ask, the clock and the logger are passed in. What is forgiven and for how long is
``Policy`` (``policy.py``, with ``keep_trying`` around a single call such as a submit); ``Watch`` follows one
job to its end (``watch.py``) and ``Journal`` says so in the log; ``wait`` watches several and says when enough of them
have ended (``many.py``).
"""

from ork_provider.waiting.journal import Journal
from ork_provider.waiting.many import ERROR, FAILED, STOPPED, SUCCESS, TIMEOUT, Outcome, Until, needed, wait
from ork_provider.waiting.policy import Clock, Policy, SystemClock, Timer, Trouble, keep_trying, policy_of
from ork_provider.waiting.watch import FIRST_ASK, LONGEST_ASK, Alone, Ask, DeadlinePassed, Seat, TooLate, Watch, limited

__all__ = [
    "ERROR",
    "FAILED",
    "FIRST_ASK",
    "LONGEST_ASK",
    "STOPPED",
    "SUCCESS",
    "TIMEOUT",
    "Alone",
    "Ask",
    "Clock",
    "DeadlinePassed",
    "Journal",
    "Outcome",
    "Policy",
    "Seat",
    "SystemClock",
    "Timer",
    "TooLate",
    "Trouble",
    "Until",
    "Watch",
    "keep_trying",
    "limited",
    "needed",
    "policy_of",
    "wait",
]
