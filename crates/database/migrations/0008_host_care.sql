-- Hosts that are revoked, and sandboxes that hosts have and nobody knows.

-- Tokens of another version are void, so that one of before a revocation is none after the host registers anew.
ALTER TABLE hosts ADD COLUMN token_version integer NOT NULL DEFAULT 0;

-- What a host has without a row of ours: paused there, and destroyed in the end.
CREATE TABLE quarantined_sandboxes (
    host_id    uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    -- No reference: that there is no such row is what it is about.
    sandbox_id uuid NOT NULL,
    -- When it is destroyed.
    destroy_at timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host_id, sandbox_id)
);

-- What a host holds is summed up on each creation: from the index alone. Each change of a status writes the index
-- anyway, as the status decides what is in it.
DROP INDEX sandboxes_host;
CREATE INDEX sandboxes_host ON sandboxes (host_id) INCLUDE (status, vcpus, memory_mb, disk_size_mb)
    WHERE status NOT IN ('stopped', 'error');
