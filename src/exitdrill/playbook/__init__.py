"""The actions a step can name, and the executor that carries a playbook out."""
