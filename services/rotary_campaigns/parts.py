"""What the handlers of requests share, beside their connection."""

from msgspec import Struct

from rotary_campaigns.database import Database
from rotary_campaigns.http.streams import StreamLimit
from rotary_campaigns.http.uploads import UploadLimit
from rotary_campaigns.settings import CampaignsSettings
from rotary_campaigns.webhooks.sender import Sender


class Parts(Struct, frozen=True):
    """Wired once, by the service."""

    settings: CampaignsSettings
    database: Database
    streams: StreamLimit
    sender: Sender
    uploads: UploadLimit
