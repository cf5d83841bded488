"""What is predicted: one file a task kind, each a plugin like any third party's."""
