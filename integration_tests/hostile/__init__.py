"""What every loss does with inputs that are wrong, odd or extreme."""
