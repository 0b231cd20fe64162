"""What single neurons tell about languages and concepts."""
