"""What people and programs read: rich tables, JSON lines, or nothing. With cli, it alone prints."""
