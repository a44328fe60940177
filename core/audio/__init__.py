"""Sound as samples: recordings and their levels."""
