-- Numbers are digits, and names hold no control characters: they go on to dialplans, spreadsheets and terminals, where a
-- line break begins another command and an escape moves the cursor.
--
-- NOT VALID: rows that are there already stay, so that the upgrade goes through. They are refused when they are next
-- written. To find and mend them, and then to have the database vouch for all rows:
--
--   SELECT id, customer_id, number FROM caller_ids WHERE number !~ '^[+]?[0-9]{3,20}$';
--   SELECT id, customer_id, display_name, trunk_name FROM caller_ids
--     WHERE NOT rotary_text_is_plain(display_name) OR NOT rotary_text_is_plain(trunk_name);
--   SELECT id, customer_id, name FROM caller_id_groups WHERE NOT rotary_text_is_plain(name);
--   SELECT id, name FROM customers WHERE NOT rotary_text_is_plain(name);
--   SELECT id, customer_id, name FROM api_tokens WHERE NOT rotary_text_is_plain(name);
--   ALTER TABLE caller_ids VALIDATE CONSTRAINT caller_ids_number_is_digits;   -- and so on

CREATE FUNCTION rotary_text_is_plain(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN value !~ '[\u0001-\u001f\u007f-\u009f]';

-- E.164 has at most 15 digits; a domestic number may carry a trunk's prefix before them. The shortest are service numbers.
ALTER TABLE caller_ids
  ADD CONSTRAINT caller_ids_number_is_digits CHECK (number ~ '^[+]?[0-9]{3,20}$') NOT VALID,
  ADD CONSTRAINT caller_ids_display_name_is_plain CHECK (rotary_text_is_plain(display_name)) NOT VALID,
  ADD CONSTRAINT caller_ids_trunk_name_is_plain CHECK (rotary_text_is_plain(trunk_name)) NOT VALID;
ALTER TABLE caller_id_groups
  ADD CONSTRAINT caller_id_groups_name_is_plain CHECK (rotary_text_is_plain(name)) NOT VALID;
ALTER TABLE customers
  ADD CONSTRAINT customers_name_is_plain CHECK (rotary_text_is_plain(name)) NOT VALID;
ALTER TABLE api_tokens
  ADD CONSTRAINT api_tokens_name_is_plain CHECK (rotary_text_is_plain(name)) NOT VALID;
