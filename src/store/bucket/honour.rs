//! Which conditions of writes and deletes a bucket honours, and how it does not honour the others.

/// Which conditions a bucket honours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-None-Match: *` of a PUT.
    pub if_absent: Honour,
    /// `If-Match` of a PUT.
    pub if_unchanged: Honour,
    /// `If-Match` of a DELETE is kept. Ceph RGW 16 honours those of a PUT only.
    pub delete_unchanged: bool,
}

/// What a bucket does with a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Honour {
    /// The credentials may not write what would show it.
    #[default]
    Unknown,
    /// It refuses a request whose condition does not hold, and no other.
    Kept,
    /// It does the request whether the condition holds or not.
    Ignored,
    /// It knows no such condition, and says so.
    Refused,
    /// It takes an object's own `ETag` for another one.
    Mistaken,
}

impl Conditions {
    pub(super) const ALL: Self = Self { if_absent: Honour::Kept, if_unchanged: Honour::Kept, delete_unchanged: true };

    /// Which conditions of a PUT the bucket does not keep, as a sentence; `None`: it keeps all.
    #[must_use]
    pub fn lack_of_writes(&self) -> Option<String> {
        let lack = |honour, header: &str| match honour {
            Honour::Kept => None,
            Honour::Ignored => Some(format!("ignores {header}")),
            Honour::Refused => Some(format!("refuses {header}")),
            Honour::Mistaken => Some("takes an object's own ETag for another one".to_owned()),
            Honour::Unknown => Some(format!("denies the write that shows whether it keeps {header}")),
        };
        let lacks = if self.if_absent == self.if_unchanged {
            lack(self.if_absent, "If-None-Match and If-Match")?
        } else {
            let lacks = [lack(self.if_absent, "If-None-Match"), lack(self.if_unchanged, "If-Match")];
            lacks.into_iter().flatten().collect::<Vec<_>>().join(", and ")
        };
        Some(format!("the bucket {lacks}"))
    }
}
