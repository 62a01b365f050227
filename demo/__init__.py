"""The whole house on one machine: embedded stores, simulated Telegram and Claude, and a chat in the terminal."""
