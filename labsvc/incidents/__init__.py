"""A shop that is watched, and what goes wrong in it: incidents to find, to mend and to bear.

    with Shop(lab) as shop:
        night = incidents.random(seed=7)
        night.begin(shop)
        print(night.pager)
        ...                          # look: shop.signals, and patch: shop.orders.tries = 1
        print(shop.level(seconds=10))

`catalogue` has the incidents; `incident` says what one is, `of_calls` and `of_events` describe
them. `shop` puts six services together: `web`, `orders`, `prices`, `stock`, `payment` and `mails`,
which `observed` watches; orders asks with `clients`, and `settings` is what may be set. `customers`
are their load. `signals` is what can be seen of them, `level` what they have promised, `picture`
draws their orders.
"""

from labsvc.incidents.catalogue import INCIDENTS, both, random
from labsvc.incidents.incident import Incident
from labsvc.incidents.level import Level
from labsvc.incidents.shop import Shop

__all__ = ["INCIDENTS", "Incident", "Level", "Shop", "both", "random"]
