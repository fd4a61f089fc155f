"""What the papers print: how well segmentations and measurements agree, and what measurements say of patients."""
