//! The examples of RFC 7616 (with its erratum 4897) and RFC 2617, and odd headers.

use super::*;

const ASKED: Asked = Asked {
    method: "GET",
    uri: "/dir/index.html",
    username: "Mufasa",
    password: "Circle of Life",
    cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    count: 1,
};

const REALM: &str = r#"realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;

fn answer(header: &str, asked: Asked) -> String {
    Challenge::strongest([header]).unwrap().answer(asked)
}

#[test]
fn the_examples_of_rfc_7616_come_out() {
    let md5 = answer(&format!("Digest {REALM}, algorithm=MD5"), ASKED);
    assert_eq!(
        md5,
        r#"Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", response="8ca523f5e9506fed4657c9700eebdbec", algorithm=MD5, opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", qop=auth, nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ""#
    );
    let sha = answer(&format!("Digest {REALM}, algorithm=SHA-256"), ASKED);
    assert!(
        sha.contains("753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        "{sha}"
    );
}

#[test]
fn the_example_with_a_hashed_user_name_comes_out_as_its_erratum_says() {
    let header = r#"Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true"#;
    let asked = Asked {
        uri: "/doe.json",
        username: "J\u{e4}s\u{f8}n Doe",
        password: "Secret, or not?",
        cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
        ..ASKED
    };
    let answer = answer(header, asked);
    for part in [
        r#"username="793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b""#,
        r#"response="3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5""#,
        "userhash=true",
    ] {
        assert!(answer.contains(part), "{answer}");
    }
}

#[test]
fn the_example_of_rfc_2617_comes_out() {
    let header = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
    let asked = Asked { password: "Circle Of Life", cnonce: "0a4f113b", ..ASKED };
    let answer = answer(header, asked);
    assert!(answer.contains("6629fae49393a05397450978507c4ef1"), "{answer}");
    assert!(!answer.contains("algorithm"), "{answer}");
}

#[test]
fn a_server_without_quality_gets_the_old_form() {
    let header = r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093""#;
    let asked = Asked { password: "CircleOfLife", ..ASKED };
    // The example of RFC 2069, with its erratum 749.
    let answer = answer(header, asked);
    assert!(answer.contains(r#"response="1949323746fe6a43ef61f9606e7febea""#), "{answer}");
    assert!(!answer.contains("nc="), "{answer}");
}

#[test]
fn session_algorithms_mix_both_nonces_into_the_secret() {
    let header = r#"Digest realm="r", qop="auth", nonce="n", algorithm=MD5-sess"#;
    let asked = Asked { username: "u", password: "p", cnonce: "c", uri: "/", ..ASKED };
    let hash = |text: &str| Algorithm::Md5.hash(text);
    let who = hash(&format!("{}:n:c", hash("u:r:p")));
    let response = hash(&format!("{who}:n:00000001:c:auth:{}", hash("GET:/")));
    assert!(answer(header, asked).contains(&response));
}

#[test]
fn of_several_challenges_the_strongest_known_is_answered() {
    let one = r#"Basic realm="a, b", Digest realm="r", nonce="1", qop="auth", algorithm=MD5, Digest realm="r", nonce="2", qop="auth", algorithm=SHA-256"#;
    assert_eq!(Challenge::strongest([one]).unwrap().nonce, "2");
    let (md5, unknown) =
        ("Digest realm=r,nonce=1,qop=auth", "Digest realm=r,nonce=2,qop=auth,algorithm=SHA3");
    assert_eq!(Challenge::strongest([unknown, md5, "Negotiate"]).unwrap().nonce, "1");
    assert_eq!(Challenge::strongest([unknown]), None);
}

#[test]
fn headers_that_are_no_challenge_are_none() {
    for header in [
        "",
        ",",
        "=",
        "Digest",
        "Digest realm=\"r\"",
        "Digest nonce=\"n\"",
        "Bearer abc==",
        "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
        "a=b, Digest",
        "Digest =\"",
    ] {
        assert_eq!(Challenge::strongest([header]), None, "{header}");
    }
}

#[test]
fn quotes_and_backslashes_go_both_ways() {
    let challenge = Challenge::strongest([r#"Digest realm="a\"b\\c", nonce="n""#]).unwrap();
    assert_eq!(challenge.realm, r#"a"b\c"#);
    assert!(challenge.answer(ASKED).contains(r#"realm="a\"b\\c""#));
    assert!(Challenge::strongest([r#"digest REALM=r , Nonce = "n" , STALE=True"#]).unwrap().stale);
}

#[test]
fn what_a_client_answers_is_what_a_server_expects() {
    for algorithm in ["MD5", "SHA-256", "SHA-512-256"] {
        let header = answer(&format!("Digest {REALM}, algorithm={algorithm}"), ASKED);
        let read = Answer::read(&header).unwrap();
        assert_eq!((&*read.username, &*read.uri, read.count), ("Mufasa", "/dir/index.html", 1));
        let (told, expected) = read.responses("GET", "http-auth@example.org", "Circle of Life");
        assert_eq!(told, expected, "{algorithm}");
        let (told, expected) = read.responses("POST", "http-auth@example.org", "Circle of Life");
        assert_ne!(told, expected);
    }
}

#[test]
fn answers_without_a_count_and_those_to_other_challenges_are_none() {
    let good = answer(&format!("Digest {REALM}"), ASKED);
    assert!(Answer::read(&good).is_some());
    for (part, other) in [
        ("nc=00000001", "nc=-1"),
        ("nc=00000001, ", ""),
        ("qop=auth", "qop=auth-int"),
        ("Digest ", "Basic "),
        ("Digest ", ""),
        ("response=", "answer="),
        ("qop=auth", "qop=auth, algorithm=MD5-sess"),
        ("qop=auth", "qop=auth, algorithm=SHA3"),
    ] {
        let bad = good.replace(part, other);
        assert_ne!(bad, good, "{part}");
        assert_eq!(Answer::read(&bad), None, "{bad}");
    }
}
