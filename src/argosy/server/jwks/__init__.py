"""The keys of end users' tokens: fetched here, so that proxies need not reach the issuers."""
