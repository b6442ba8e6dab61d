"""The service as an AWS Lambda function: the template, the zip, and a measurement of cold starts."""
