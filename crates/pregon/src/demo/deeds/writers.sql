INSERT INTO contactos (id, telefono, nombre) VALUES (1, '5215500000001', 'Ana'), (2, '5215500000002', 'Beto'), (3, '5215500000003', 'Caro')
ON CONFLICT DO NOTHING;
INSERT INTO conversaciones (id, contacto_id, telefono, numero, area)
VALUES (1, 1, '5215500000001', '109', 'general'), (2, 2, '5215500000002', '109', 'general'), (3, 3, '5215500000003', '109', 'general')
ON CONFLICT DO NOTHING;
