"""How single files are read and written: lines, tables, records, dates; RecBole's atomic files."""
