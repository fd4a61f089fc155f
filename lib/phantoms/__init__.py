"""Digital phantoms: CT-like volumes with exact labels, for demos, tests and studies, never for a patient."""
