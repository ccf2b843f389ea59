"""Drill and playbook files -> `DrillPlan`. The only YAML parser; exports the JSON Schemas."""
