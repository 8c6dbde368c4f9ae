use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use proptest::prelude::*;
use serde_json::json;

const NOW: i64 = 1_790_000_000;

struct Signer {
    rsa: RsaKeyPair,
    other: RsaKeyPair,
    ec: EcdsaKeyPair,
}

fn signer() -> Signer {
    Signer {
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        other: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    }
}

fn numbers(pair: &RsaKeyPair) -> (String, String) {
    let parts: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
    (BASE64.encode(parts.n), BASE64.encode(parts.e))
}

impl Signer {
    fn keys(&self) -> JwkSet {
        let (n, e) = numbers(&self.rsa);
        let point = self.ec.public_key().as_ref();
        let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
        serde_json::from_value(json!({"keys": [
            {"kid": "rsa", "kty": "RSA", "alg": "RS256", "use": "sig", "n": n, "e": e},
            {"kid": "rsa-bare", "kty": "RSA", "n": n, "e": e},
            {"kid": "rsa-512", "kty": "RSA", "alg": "RS512", "use": "sig", "n": n, "e": e},
            {"kid": "rsa-enc", "kty": "RSA", "alg": "RS256", "use": "enc", "n": n, "e": e},
            {"kid": "ec", "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "x": x, "y": y},
            {"kid": "secret", "kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        ]}))
        .unwrap()
    }

    fn rs256(&self, header: Value, claims: &Value) -> String {
        with(header, claims, |text| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).unwrap();
            signature
        })
    }

    fn es256(&self, header: Value, claims: &Value) -> String {
        with(header, claims, |text| self.ec.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec())
    }
}

fn with(header: Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let signature = BASE64.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn trusted_issuer() -> TrustedIssuer {
    TrustedIssuer {
        issuer: "https://id.example.com/pool".into(),
        audience: "tocsin".into(),
        tenants_claim: "custom:tenants".into(),
        scopes_claim: "scope".into(),
    }
}

fn claims() -> Value {
    json!({"iss": "https://id.example.com/pool", "aud": "tocsin", "sub": "8f2c", "exp": NOW + 300, "iat": NOW,
        "custom:tenants": "acme globex", "scope": "openid tocsin/alerts:read alerts:manage nonsense"})
}

fn changed(name: &str, value: Value) -> Map<String, Value> {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims.as_object().unwrap().clone()
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

#[test]
fn a_valid_token_proves_identity_scopes_and_tenants() {
    let signer = signer();
    let keys = signer.keys();
    let rsa = signer.rs256(json!({"alg": "RS256", "kid": "rsa"}), &claims());
    let who = verify_jwt(&rsa, &keys, &trusted_issuer(), now()).unwrap();
    assert_eq!(who.token_id, "jwt_8f2c");
    assert_eq!(who.scopes, ["alerts:manage", "alerts:read"].map(str::to_owned).into());
    assert_eq!(who.tenants, Some(["acme", "globex"].map(|id| TenantId::parse(id).unwrap()).into()));
    let ec = signer.es256(json!({"alg": "ES256", "kid": "ec"}), &claims());
    assert_eq!(verify_jwt(&ec, &keys, &trusted_issuer(), now()).unwrap(), who);
    let bare = signer.rs256(json!({"alg": "RS256", "kid": "rsa-bare"}), &claims());
    assert!(verify_jwt(&bare, &keys, &trusted_issuer(), now()).is_ok());
}

#[test]
fn a_token_with_a_wrong_header_key_or_signature_is_refused() {
    let signer = signer();
    let keys = signer.keys();
    let refused = |token: &str| verify_jwt(token, &keys, &trusted_issuer(), now()).unwrap_err();
    let rs256 = |kid: &str| signer.rs256(json!({"alg": "RS256", "kid": kid}), &claims());
    assert_eq!(refused(&rs256("gone")), JwtRefusal::UnknownKey);
    assert_eq!(refused(&rs256("ec")), JwtRefusal::KeyUnfit);
    assert_eq!(refused(&rs256("rsa-512")), JwtRefusal::KeyUnfit);
    assert_eq!(refused(&rs256("rsa-enc")), JwtRefusal::KeyUnfit);
    assert_eq!(refused(&rs256("secret")), JwtRefusal::KeyUnfit);
    assert_eq!(refused(&signer.rs256(json!({"alg": "RS256"}), &claims())), JwtRefusal::NoKeyId);
    assert_eq!(refused(&signer.rs256(json!({"alg": "RS256", "kid": ""}), &claims())), JwtRefusal::NoKeyId);
    assert_eq!(
        refused(&signer.rs256(json!({"alg": "RS256", "kid": "rsa", "crit": ["b64"]}), &claims())),
        JwtRefusal::Unreadable
    );
    // Unsigned tokens.
    for alg in ["none", "None", "nOnE", ""] {
        let unsigned = with(json!({"alg": alg, "kid": "rsa"}), &claims(), |_| Vec::new());
        assert_eq!(refused(&unsigned), JwtRefusal::Algorithm, "{alg}");
    }
    // Key confusion: the public key, which is in the JWKS, is used as the secret of an HMAC.
    let (n, _) = numbers(&signer.rsa);
    let confused = with(json!({"alg": "HS256", "kid": "rsa"}), &claims(), |text| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, n.as_bytes());
        aws_lc_rs::hmac::sign(&key, text).as_ref().to_vec()
    });
    assert_eq!(refused(&confused), JwtRefusal::Algorithm);
    // A signature with another key under a known key id, and claims changed after signing.
    let forged = with(json!({"alg": "RS256", "kid": "rsa"}), &claims(), |text| {
        let mut signature = vec![0; signer.other.public_modulus_len()];
        signer.other.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).unwrap();
        signature
    });
    assert_eq!(refused(&forged), JwtRefusal::Signature);
    let good = rs256("rsa");
    let parts: Vec<&str> = good.split('.').collect();
    let mut more = claims();
    more["custom:tenants"] = json!("acme globex initech");
    let tampered = format!("{}.{}.{}", parts[0], BASE64.encode(more.to_string()), parts[2]);
    assert_eq!(refused(&tampered), JwtRefusal::Signature);
    assert_eq!(refused("x.y.z"), JwtRefusal::Unreadable);
}

#[test]
fn each_claim_is_checked() {
    let check = |name: &str, value: Value| check_claims(&changed(name, value), &trusted_issuer(), now()).map(|_| ());
    for (name, value, expected) in [
        ("iss", json!("https://id.example.com/pool/"), Err(JwtRefusal::Issuer)),
        ("iss", json!(null), Err(JwtRefusal::Issuer)),
        ("aud", json!("other"), Err(JwtRefusal::Audience)),
        ("aud", json!(["other", "tocsin"]), Ok(())),
        ("aud", json!([]), Err(JwtRefusal::Audience)),
        ("aud", json!(null), Err(JwtRefusal::Audience)),
        ("exp", json!(NOW - 59), Ok(())),
        ("exp", json!(NOW - 60), Err(JwtRefusal::Expired)),
        ("exp", json!(null), Err(JwtRefusal::Expired)),
        ("exp", json!("tomorrow"), Err(JwtRefusal::Expired)),
        ("nbf", json!(NOW + 60), Ok(())),
        ("nbf", json!(NOW + 61), Err(JwtRefusal::NotYet)),
        ("nbf", json!("x"), Err(JwtRefusal::NotYet)),
        ("iat", json!(NOW + 61), Err(JwtRefusal::NotYet)),
        ("token_use", json!("id"), Ok(())),
        ("token_use", json!("refresh"), Err(JwtRefusal::TokenUse)),
        ("sub", json!(""), Err(JwtRefusal::NoSubject)),
        ("scope", json!("openid profile"), Err(JwtRefusal::NoScopes)),
        ("scope", json!(["alerts:read"]), Ok(())),
        ("custom:tenants", json!(""), Err(JwtRefusal::NoTenants)),
        ("custom:tenants", json!("*"), Err(JwtRefusal::NoTenants)),
        ("custom:tenants", json!("ACME"), Err(JwtRefusal::NoTenants)),
        ("custom:tenants", json!(["acme"]), Ok(())),
        ("custom:tenants", json!("acme,globex"), Ok(())),
    ] {
        assert_eq!(check(name, value.clone()), expected, "{name} {value}");
    }
}

#[test]
fn only_a_cognito_access_token_may_name_the_client_instead_of_an_audience() {
    let mut access = changed("aud", Value::Null);
    access.insert("client_id".into(), json!("tocsin"));
    assert_eq!(check_claims(&access, &trusted_issuer(), now()).unwrap_err(), JwtRefusal::Audience);
    access.insert("token_use".into(), json!("access"));
    assert!(check_claims(&access, &trusted_issuer(), now()).is_ok());
    access.insert("aud".into(), json!("other"));
    assert_eq!(check_claims(&access, &trusted_issuer(), now()).unwrap_err(), JwtRefusal::Audience);
}

#[test]
fn all_tenants_are_granted_to_platform_admins_only() {
    let mut all = changed("custom:tenants", json!("*"));
    all.insert("scope".into(), json!("platform:admin"));
    assert_eq!(check_claims(&all, &trusted_issuer(), now()).unwrap().tenants, None);
}

#[test]
fn an_address_as_a_subject_is_hashed() {
    let who = check_claims(&changed("sub", json!("ada@example.com")), &trusted_issuer(), now()).unwrap();
    assert!(!who.token_id.contains('@') && who.token_id.len() > 20, "{}", who.token_id);
    assert_eq!(
        who.token_id,
        check_claims(&changed("sub", json!("ada@example.com")), &trusted_issuer(), now()).unwrap().token_id
    );
    assert_eq!(
        check_claims(&changed("sub", json!("auth0|5f7c")), &trusted_issuer(), now()).unwrap().token_id,
        "jwt_auth0|5f7c"
    );
}

proptest! {
    /// A token is refused after a change of any single byte.
    #[test]
    fn a_token_with_any_byte_changed_is_refused(at in 0usize..400, byte in proptest::sample::select(&b"AZaz09-_."[..])) {
        static SIGNED: std::sync::OnceLock<(JwkSet, String)> = std::sync::OnceLock::new();
        let (keys, token) = SIGNED.get_or_init(|| {
            let signer = signer();
            (signer.keys(), signer.rs256(json!({"alg": "RS256", "kid": "rsa"}), &claims()))
        });
        let mut changed = token.clone().into_bytes();
        let at = at % changed.len();
        // The last letter of a part holds unused bits, so that another letter may decode to the same bytes.
        prop_assume!(changed[at] != byte && at + 1 < changed.len() && changed[at + 1] != b'.');
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert!(verify_jwt(&changed, keys, &trusted_issuer(), now()).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let keys = JwkSet { keys: Vec::new() };
        prop_assert!(verify_jwt(&text, &keys, &trusted_issuer(), now()).is_err());
        let _ = is_jwt(&text);
    }
}
