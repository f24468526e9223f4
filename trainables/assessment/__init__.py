"""What an assessment measures of a network, and what it concludes."""
