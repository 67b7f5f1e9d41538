"""What happens inside one step of the Distiller."""
