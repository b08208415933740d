"""`python -m rotary_campaigns` is `rotary-campaigns`."""

from rotary.runtime.programs import campaigns

if __name__ == "__main__":
    campaigns()
