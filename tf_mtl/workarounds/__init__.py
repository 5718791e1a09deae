"""What Keras gets wrong under strategies, one module for each defect; tests/test_keras_quirks.py shows each of them."""
