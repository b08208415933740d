"""`python -m rotary_admin` is `rotary-admin`."""

from rotary.runtime.programs import admin

if __name__ == "__main__":
    admin()
