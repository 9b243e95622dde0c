-- Secrets for a node are sealed to this: SubjectPublicKeyInfo, DER; empty until the node has said it.
ALTER TABLE node ADD COLUMN sealing_key BLOB NOT NULL DEFAULT x'';
