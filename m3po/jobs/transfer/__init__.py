"""What comes in and goes out: imports, previews, exports."""
