
-- The line of the inbox: a conversation and the last that was said in it, to whoever follows its area.
BEGIN
  PERFORM pregon.publish('area_' || area, 'conversation:updated',
    (talk - 'raw') || jsonb_build_object(
      'nombre', name, 'ultimo_mensaje', message -> 'mensaje', 'ultimo_tipo', message -> 'tipo',
      'remitente_tipo', message -> 'remitente_tipo'));
END
