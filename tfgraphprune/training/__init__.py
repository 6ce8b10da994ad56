"""RECOVER: data sets, training, fine-tuning, distillation and tfmot's gradual schedule."""
