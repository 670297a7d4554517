"""What is shown: terminal tables and waterfalls, JSON."""
