"""With what a trial ran: code, libraries, machine; without what is secret."""
