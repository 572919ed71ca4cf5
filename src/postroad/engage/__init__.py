"""10 Engage: opens, clicks, unsubscribes."""
