"""The customer's pages: the demo shop, the chat in its iframe, the one-line embed, the help articles."""
