"""What every room may use and what knows no mesh: names, problems, clock, log."""
