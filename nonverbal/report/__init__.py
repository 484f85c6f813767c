"""The report, a page of tables and charts of results that other code computed. No score is computed here."""
