INSERT INTO miembros (id_miembro, nombre, plan, fecha_vencimiento) VALUES
    (1, 'Ximena Robles', 'anual', current_date + 210),
    (2, 'Iñaki Etxeberria', 'mensual', current_date + 12),
    (3, 'Guadalupe Ordóñez', 'mensual', current_date + 3),
    (4, 'Martín Peña', 'trimestral', current_date + 55),
    (5, 'Lucía Fernández', 'anual', current_date + 300),
    (6, 'Tomás Aguirre', 'mensual', current_date - 3),
    (7, 'Renata Villaseñor', 'anual', current_date + 140),
    (8, 'Joaquín Salas', 'trimestral', current_date + 8),
    (9, 'Ángela Muñoz', 'mensual', current_date - 1),
    (10, 'Emiliano Cruz', 'anual', current_date + 77),
    (11, 'Sofía Ibáñez', 'mensual', current_date + 1),
    (12, 'Rodrigo Núñez', 'trimestral', current_date + 61),
    (13, 'Paloma Carrasco', 'anual', current_date + 251),
    (14, 'Héctor Zamora', 'mensual', current_date - 12),
    (15, 'Valeria Quintana', 'trimestral', current_date + 34),
    (16, 'Nicolás Güell', 'anual', current_date + 180)
ON CONFLICT DO NOTHING;
