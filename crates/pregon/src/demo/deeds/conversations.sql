INSERT INTO conversations (id, user_id) VALUES (1, 7), (2, 7), (3, 7), (4, 7), (5, 7) ON CONFLICT DO NOTHING;
SELECT setval(pg_get_serial_sequence('conversations', 'id'), max(id)) FROM conversations;
