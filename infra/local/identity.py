"""Makes the identity provider of the local stack: a Cognito user pool with an app client. Prints one JSON object.

Runs in the SAM CLI's environment (boto3 is there), before the deployment, which is told the issuer. Talks to AWS_ENDPOINT_URL.
"""

import json
import os

import boto3

cognito = boto3.client("cognito-idp", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
pool = cognito.create_user_pool(
    PoolName="tocsin",
    Schema=[{"Name": "tenants", "AttributeDataType": "String", "Mutable": True}],
)["UserPool"]["Id"]
client = cognito.create_user_pool_client(
    UserPoolId=pool, ClientName="tocsin", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
)["UserPoolClient"]["ClientId"]
issuer = f"https://cognito-idp.{os.environ['AWS_DEFAULT_REGION']}.amazonaws.com/{pool}"
print(json.dumps({"issuer": issuer, "pool_id": pool, "client_id": client}))
