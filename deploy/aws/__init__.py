"""The service as an AWS Lambda function: the template, its zip, and what a cold start costs."""
