"""The parts of bench/kill_campaign.py: plan, stage, home, rounds and results."""
