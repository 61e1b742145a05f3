-- What people sign in with beside a password, what they are signed in to, and what they administer.

CREATE TABLE user_sessions (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind         text NOT NULL CHECK (kind IN ('browser', 'cli')),
    -- What the client calls itself, and where it came from, for the list that its owner reads.
    client       text NOT NULL,
    ip           text NOT NULL,
    team_id      uuid REFERENCES teams (id),
    -- SHA-256 of the refresh token, and of the one before it: its late use means that it was copied.
    refresh_hash bytea NOT NULL UNIQUE CHECK (octet_length(refresh_hash) = 32),
    prev_hash    bytea CHECK (octet_length(prev_hash) = 32),
    rotated_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX user_sessions_user ON user_sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX user_sessions_prev ON user_sessions (prev_hash) WHERE prev_hash IS NOT NULL;
CREATE INDEX user_sessions_expiry ON user_sessions (expires_at);

CREATE TABLE oauth_identities (
    provider    text NOT NULL,
    provider_id text NOT NULL,
    user_id     uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email       text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, provider_id)
);
CREATE UNIQUE INDEX oauth_identities_user ON oauth_identities (user_id, provider);

-- People who administer a part of the platform; `users.is_admin` means all of it.
CREATE TABLE admin_permissions (
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    permission text NOT NULL
               CHECK (permission IN ('hosts', 'templates', 'teams', 'users', 'audit')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, permission)
);

-- Mail that waits to be sent. Links are sealed, and erased once the mail is out.
CREATE TABLE mail_outbox (
    id              uuid PRIMARY KEY,
    recipient       text NOT NULL,
    template        text NOT NULL,
    params          jsonb NOT NULL DEFAULT '{}',
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    sent_at         timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX mail_outbox_due ON mail_outbox (next_attempt_at) WHERE sent_at IS NULL;
