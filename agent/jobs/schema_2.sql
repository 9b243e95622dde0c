-- Prepaid budgets and monthly bytes are counted on the box. Images: all there were was the host's own.
CREATE TABLE spending (
  tenant TEXT PRIMARY KEY,
  spending_json TEXT NOT NULL
);
UPDATE job SET job_json = json_set(job_json, '$.image', 'host') WHERE json_extract(job_json, '$.attempt') > 0;
