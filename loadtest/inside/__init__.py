"""What is measured inside one process, without sockets. Each module is run by itself and prints JSON."""
