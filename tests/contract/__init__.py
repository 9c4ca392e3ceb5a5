"""What every kind of job must do, parametrised over all kinds."""
