//! What concerns more than one setting.

use super::{Auth, Config, ConfigError, Driver, Remote, Rule, Scheme, UpstreamHost, rules};

impl Config {
    /// What concerns more than one setting.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let s3 = &self.storage.s3;
        if s3.regionendpoint.as_ref().is_some_and(|it| it.contains('@')) {
            let message = "must not contain credentials, they have settings of their own";
            return Err(ConfigError::value("storage.s3.regionendpoint", message));
        }
        if self.storage.driver == Driver::S3 {
            if s3.bucket.is_none() {
                return Err(ConfigError::value("storage.s3.bucket", "is missing"));
            }
            if s3.region.is_none() && s3.regionendpoint.is_none() {
                return Err(ConfigError::value(
                    "storage.s3.region",
                    "is missing; for Tigris, set it to auto and storage.s3.regionendpoint to https://t3.storage.dev",
                ));
            }
            if s3.accesskey.is_some() != s3.secretkey.is_some() {
                return Err(ConfigError::value("storage.s3.accesskey", "and secretkey must be set together"));
            }
        }
        self.check_upstreams()?;
        self.check_auth()?;
        self.check_tls()?;
        if !self.http.prefix.is_empty() && !self.http.prefix.starts_with('/') {
            return Err(ConfigError::value("http.prefix", "must begin with a /"));
        }
        if !self.http.debug.prometheus.path.starts_with('/') {
            return Err(ConfigError::value("http.debug.prometheus.path", "must begin with a /"));
        }
        Ok(())
    }

    fn check_upstreams(&self) -> Result<(), ConfigError> {
        let proxy = &self.proxy;
        check_credentials("proxy", &proxy.own())?;
        if proxy.remoteurl.is_none() && !proxy.host.is_empty() {
            let message = "names the upstream at proxy.remoteurl, and there is none";
            return Err(ConfigError::value("proxy.host", message));
        }
        let mut known: Vec<&str> = proxy.host.iter().map(UpstreamHost::as_str).collect();
        for (index, remote) in proxy.upstreams.iter().enumerate() {
            let at = format!("proxy.upstreams.{index}");
            check_credentials(&at, remote)?;
            let Some(host) = &remote.host else {
                return Err(ConfigError::value(format!("{at}.host"), "is missing"));
            };
            if known.contains(&host.as_str()) {
                let message = format!("{} is an upstream already", host.as_str());
                return Err(ConfigError::value(format!("{at}.host"), message));
            }
            known.push(host.as_str());
        }
        Ok(())
    }

    fn check_auth(&self) -> Result<(), ConfigError> {
        let Auth { scheme, htpasswd, token, rules: listed, anonymous, .. } = &self.auth;
        if anonymous.is_some() && *scheme != Scheme::Open {
            let message = "is for a registry without htpasswd and token: write a rule in auth.rules, with \
                           users: [anonymous]";
            return Err(ConfigError::value("auth.anonymous", message));
        }
        match scheme {
            Scheme::Open => {
                if !listed.is_empty() {
                    let message = "need auth.htpasswd or auth.token, which tell who asks; what clients may do without them, \
                                   auth.anonymous says";
                    return Err(ConfigError::value("auth.rules", message));
                }
            }
            Scheme::Htpasswd => {
                let users = htpasswd.users.as_ref();
                let no_users = users.is_none_or(|text| text.reveal().trim().is_empty());
                if htpasswd.path.is_none() && no_users {
                    let message = "or path is missing: lines as `pounce htpasswd USER` prints them";
                    return Err(ConfigError::value("auth.htpasswd.users", message));
                }
                if htpasswd.path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
                    return Err(ConfigError::value("auth.htpasswd.path", "is empty"));
                }
                // It stands in quotes in a header.
                if !is_quotable(htpasswd.realm()) {
                    return Err(ConfigError::value("auth.htpasswd.realm", QUOTABLE));
                }
            }
            Scheme::Token => {
                if token.realm.is_none() && !token.is_beside() {
                    return Err(ConfigError::value("auth.token.realm", "is missing"));
                }
                if !token.path().starts_with('/') || !is_quotable(token.path()) {
                    let message = "must begin with a /, and have no quotes";
                    return Err(ConfigError::value("auth.token.autoredirectpath", message));
                }
                for (key, value) in [("service", &token.service), ("issuer", &token.issuer)] {
                    let key = format!("auth.token.{key}");
                    match value.as_deref() {
                        None | Some("") => return Err(ConfigError::value(key, "is missing")),
                        Some(value) if !is_quotable(value) => {
                            return Err(ConfigError::value(key, QUOTABLE));
                        }
                        Some(_) => {}
                    }
                }
                if token.rootcertbundle.is_none() && token.jwks.is_none() {
                    let message = "or jwks is missing: the keys that tokens are signed with";
                    return Err(ConfigError::value("auth.token.rootcertbundle", message));
                }
            }
        }
        self.check_forbidding()?;
        rules::check(listed, &self.proxy.host_names())
    }

    /// What is forbidden to all users, and then allowed to anybody, is not forbidden.
    fn check_forbidding(&self) -> Result<(), ConfigError> {
        let names = |rule: &Rule, text: &str| rule.users.iter().any(|user| user.as_str() == text);
        let rules = &self.auth.rules;
        for (index, rule) in rules.iter().enumerate() {
            let forbids_users = rule.actions.is_empty() && names(rule, "*") && !names(rule, "anonymous");
            let allows = |rule: &Rule| !rule.actions.is_empty() && names(rule, "anonymous");
            if forbids_users && rules[index + 1..].iter().any(allows) {
                let message = "* is those who log in: a later rule allows anonymous clients what this one forbids; \
                               write [\"*\", anonymous]";
                let setting = format!("auth.rules.{index}.users");
                return Err(ConfigError::value(setting, message));
            }
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), ConfigError> {
        let tls = &self.http.tls;
        if tls.certificate.is_some() != tls.key.is_some() {
            let message = "and key must be set together";
            return Err(ConfigError::value("http.tls.certificate", message));
        }
        if tls.certificate.is_none() && !tls.clientcas.is_empty() {
            let message = "needs http.tls.certificate and key";
            return Err(ConfigError::value("http.tls.clientcas", message));
        }
        Ok(())
    }
}

fn check_credentials(at: &str, remote: &Remote) -> Result<(), ConfigError> {
    if remote.username.is_some() != remote.password.is_some() {
        let message = "and password must be set together";
        return Err(ConfigError::value(format!("{at}.username"), message));
    }
    let command = remote.exec.command.as_ref();
    if command.is_some_and(|command| command.as_os_str().is_empty()) {
        return Err(ConfigError::value(format!("{at}.exec.command"), "is empty"));
    }
    if command.is_none() && remote.exec.lifetime.is_some() {
        let message = "is the life of what proxy.exec.command tells, and there is no command";
        return Err(ConfigError::value(format!("{at}.exec.lifetime"), message));
    }
    if remote.username.is_some() && command.is_some() {
        let message = "is one way to get credentials, username and password are another: choose";
        return Err(ConfigError::value(format!("{at}.exec.command"), message));
    }
    Ok(())
}

const QUOTABLE: &str = "must be visible ASCII or blanks, without quotes and backslashes";

/// Whether a text can stand in a quoted string of a header (RFC 9110, section 5.6.4).
fn is_quotable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}
