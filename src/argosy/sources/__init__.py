"""The only readers of configuration from outside: files now, other stores later."""
