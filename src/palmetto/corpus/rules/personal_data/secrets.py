"""Finds services' keys by their form, and values that are assigned to a password, token or key."""

import math
import re
from collections import Counter

KEY = re.compile(
    r"""-----BEGIN\ [A-Z\ ]{0,40}PRIVATE\ KEY(?:\ BLOCK)?-----
        [^-]*(?:-(?!----)[^-]*)*
        -----END\ [A-Z\ ]{0,40}PRIVATE\ KEY(?:\ BLOCK)?-----
      | (?<![A-Za-z0-9]) (?:AKIA|ASIA)[A-Z0-9]{16} (?![A-Za-z0-9])
      | (?<![A-Za-z0-9_]) (?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})
      | (?<![A-Za-z0-9-]) xox[abeoprs]-[A-Za-z0-9-]{10,255}
      | (?<![A-Za-z0-9_-]) AIza[A-Za-z0-9_-]{35} (?![A-Za-z0-9_-])
      | (?<![A-Za-z0-9_]) (?:[rs]k_(?:live|test)_|whsec_)[A-Za-z0-9]{16,255}
      | (?<![A-Za-z0-9_-]) eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,4096}
      | (?<![A-Za-z0-9_-]) sk-(?:proj|svcacct|admin|ant|or)-[A-Za-z0-9_-]{20,255}
      | (?<![A-Za-z0-9_-]) sk-[A-Za-z0-9]{40,64} (?![A-Za-z0-9_-])
      | (?<![A-Za-z0-9_]) (?:hf_[A-Za-z0-9]{30,64}|npm_[A-Za-z0-9]{36}|gsk_[A-Za-z0-9]{40,64}|r8_[A-Za-z0-9]{37}
            |shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|dckr_pat_[A-Za-z0-9_-]{20,64}|do[por]_v1_[a-f0-9]{64}
            |glc_[A-Za-z0-9+/=]{32,255}|glsa_[A-Za-z0-9_]{40,64}|figd_[A-Za-z0-9_-]{36,64}|lin_api_[A-Za-z0-9]{40}|rubygems_[a-f0-9]{48}
            |sntrys_[A-Za-z0-9+/=_]{40,255}) (?![A-Za-z0-9_])
      | (?<![A-Za-z0-9_-]) gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-[A-Za-z0-9_-]{20,255}
      | (?<![A-Za-z0-9_.-]) SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64} (?![A-Za-z0-9_-])
      | (?<![A-Za-z0-9_-]) (?:pypi-AgE[A-Za-z0-9_-]{40,255}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{30,255}
            |hvs\.[A-Za-z0-9_-]{24,255}|xai-[A-Za-z0-9]{60,96}|pplx-[A-Za-z0-9]{40,64}|PMAK-[A-Za-z0-9-]{50,64}
            |NRAK-[A-Z0-9]{27}|AGE-SECRET-KEY-1[A-Z0-9]{58}
            |sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}|ATATT3[A-Za-z0-9_=-]{60,255}|dapi[a-f0-9]{32}|key-[a-f0-9]{32}
            |[a-f0-9]{32}-us[0-9]{1,2}|SK[a-f0-9]{32})
      | (?<=hooks\.slack\.com/services/) T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,32}
      | (?<![0-9A-Za-z]) [0-9]{8,10}:AA[A-Za-z0-9_-]{33} (?![A-Za-z0-9_-])""",
    re.ASCII | re.VERBOSE,
)
HINT_KEY = (
    r"PRIVATE KEY-|AKIA|ASIA|gh[pousr]_|github_pat_|xox[a-z]-|AIza|[rs]k_(?:live|test)_|whsec_|eyJ"
    r"|\bsk-[A-Za-z0-9]|\bhf_[A-Za-z0-9]{9}|npm_[A-Za-z0-9]{9}|gsk_|\br8_|shp(?:at|ca|pa|ss)_|dckr_pat|do[por]_v1_|glc_|glsa_|figd_|lin_api_|rubygems_"
    r"|sntrys_"
    r"|\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-|SG\.[A-Za-z0-9_-]{9}|pypi-AgE|GOCSPX-|ya29\.|hvs\.|\bxai-|pplx-|PMAK-"
    r"|NRAK-|AGE-SECRET|sq0|ATATT3|dapi|\bkey-[a-f0-9]{9}|[a-f0-9]{32}-us|\bSK[a-f0-9]{9}|hooks\.slack"
    r"|:AA[A-Za-z0-9_-]{9}"
)
"""Covers Anthropic, Atlassian, AWS, Databricks, DigitalOcean, Docker, Figma, GitHub, GitLab, Google, Grafana, Groq,
Hugging Face, Linear, Mailchimp, Mailgun, New Relic, npm, OpenAI, Perplexity, Postman, PyPI, Replicate, RubyGems,
SendGrid, Sentry, Shopify, Slack, Square, Stripe, Telegram, Twilio, Vault, xAI; JWT, PEM, age.
"""

SECRET = re.compile(
    r"""(?:secret|token|passwo?r?d|api[_-]?key|access[_-]?key|auth[_-]?key|private[_-]?key) [A-Za-z0-9_]{0,20}
        ["']? [ ]{0,3} (?:=>|:=|[:=]) [ ]{0,3} ["']? (?P<value>[A-Za-z0-9+/_=-]{16,256}) (?![A-Za-z0-9+/_=.(\[-])""",
    re.ASCII | re.VERBOSE | re.IGNORECASE,
)
HINT_SECRET = (
    r"(?i)(?:secret|token|passwo?r?d|(?:api|access|auth|private)[_-]?key)[A-Za-z0-9_]{0,20}[\"']?"
    r" {0,3}[:=]>?=? {0,3}[\"']?[A-Za-z0-9+/_=-]{16}"
)
_BITS = 3.5


def is_random(match: re.Match[str]) -> bool:
    """Returns whether a value of letters and digits looks machine-generated: at least 3.5 bits of entropy per
    character.
    """
    value = match["value"]
    if value.isalpha() or value.isdigit():
        return False
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
    return bits >= _BITS and any(map(str.isdigit, value)) and any(map(str.isalpha, value))
