//! Generates and unwraps data keys with KMS, for `vault`.

use std::fmt;

use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;

use crate::error::{AwsError, classify};

/// A new data key: the plain key for use, and the wrapped key for storage.
pub struct DataKey {
    /// The plain key: 32 bytes, for AES-256.
    pub plaintext: Vec<u8>,
    /// The key as encrypted by KMS, which unwraps it again.
    pub wrapped: Vec<u8>,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(redacted)")
    }
}

/// A client of KMS.
#[derive(Debug, Clone)]
pub struct KeyService {
    client: Client,
}

impl KeyService {
    /// Creates a client with the process's configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// Generates a 256-bit data key under the KMS key `key_id`, bound to the encryption context.
    ///
    /// # Errors
    /// [`AwsError`] of the call.
    pub async fn generate_data_key(&self, key_id: &str, context: &[(&str, &str)]) -> Result<DataKey, AwsError> {
        let mut call = self.client.generate_data_key().key_id(key_id).key_spec(DataKeySpec::Aes256);
        for (name, value) in context {
            call = call.encryption_context(*name, *value);
        }
        let answer = call.send().await.map_err(|error| classify(&error))?;
        match (answer.plaintext, answer.ciphertext_blob) {
            (Some(plaintext), Some(wrapped)) => {
                Ok(DataKey { plaintext: plaintext.into_inner(), wrapped: wrapped.into_inner() })
            }
            _ => Err(AwsError::Unavailable),
        }
    }

    /// Unwraps a data key that was generated with the same encryption context.
    ///
    /// # Errors
    /// [`AwsError`] of the call; `Refused` if the wrapped key is altered or the context differs.
    pub async fn decrypt(&self, wrapped: Vec<u8>, context: &[(&str, &str)]) -> Result<Vec<u8>, AwsError> {
        let mut call = self.client.decrypt().ciphertext_blob(Blob::new(wrapped));
        for (name, value) in context {
            call = call.encryption_context(*name, *value);
        }
        let answer = call.send().await.map_err(|error| classify(&error))?;
        answer.plaintext.map(Blob::into_inner).ok_or(AwsError::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wiremock::matchers::header;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    const CONTEXT: &[(&str, &str)] = &[("purpose", "tocsin-data-key")];

    async fn answering(target: &str, status: u16, body: Value) -> (MockServer, KeyService) {
        let server = MockServer::start().await;
        Mock::given(header("x-amz-target", target))
            .respond_with(ResponseTemplate::new(status).set_body_raw(body.to_string(), "application/x-amz-json-1.1"))
            .mount(&server)
            .await;
        let keys = KeyService::new(&crate::config::test_config(&server.uri()).await);
        (server, keys)
    }

    async fn first_request(server: &MockServer) -> Value {
        serde_json::from_slice(&server.received_requests().await.unwrap()[0].body).unwrap()
    }

    #[tokio::test]
    async fn a_data_key_is_generated_with_its_context() {
        let made = json!({"CiphertextBlob": "d3JhcHBlZA==", "Plaintext": "cGxhaW4=", "KeyId": "k"});
        let (server, keys) = answering("TrentService.GenerateDataKey", 200, made).await;
        let key = keys.generate_data_key("k", CONTEXT).await.unwrap();
        assert_eq!((key.plaintext.as_slice(), key.wrapped.as_slice()), (&b"plain"[..], &b"wrapped"[..]));
        assert_eq!(format!("{key:?}"), "DataKey(redacted)");
        let context = json!({"purpose": "tocsin-data-key"});
        let expected = json!({"KeyId": "k", "KeySpec": "AES_256", "EncryptionContext": context});
        assert_eq!(first_request(&server).await, expected);
    }

    #[tokio::test]
    async fn a_data_key_is_unwrapped_with_its_context() {
        let (server, keys) =
            answering("TrentService.Decrypt", 200, json!({"Plaintext": "cGxhaW4=", "KeyId": "k"})).await;
        assert_eq!(keys.decrypt(b"wrapped".to_vec(), CONTEXT).await.unwrap(), b"plain");
        let context = json!({"purpose": "tocsin-data-key"});
        assert_eq!(
            first_request(&server).await,
            json!({"CiphertextBlob": "d3JhcHBlZA==", "EncryptionContext": context})
        );
    }

    #[tokio::test]
    async fn a_wrong_key_is_distinguished_from_an_outage() {
        let wrong = json!({"__type": "InvalidCiphertextException"});
        let (_server, keys) = answering("TrentService.Decrypt", 400, wrong).await;
        let refused = AwsError::Refused { code: "InvalidCiphertextException".to_owned() };
        assert_eq!(keys.decrypt(vec![1], CONTEXT).await, Err(refused));
        let (_server, keys) = answering("TrentService.Decrypt", 500, json!({"__type": "KMSInternalException"})).await;
        assert_eq!(keys.decrypt(vec![1], CONTEXT).await, Err(AwsError::Unavailable));
    }
}
