"""Where models live: find one by name, pull one."""
